// Lists of class names: typed, from a file, or one of the service's.

/** Names of a text, one a line, without blank lines. Throws an Error that names the line. */
export function namesOf(text) {
  const lines = new Map();
  text.split(/\r\n|\r|\n/).forEach((line, index) => {
    const name = line.trim();
    if (!name) return;
    if (lines.has(name)) {
      throw new Error(`Line ${index + 1}: “${name}” stands already in line ${lines.get(name)}.`
        + " Remove one of them.");
    }
    lines.set(name, index + 1);
  });
  return [...lines.keys()];
}

/** Names in a file: one a line, or CSV with the header id,name. Throws an Error to show. */
export async function namesInFile(file) {
  if (file.size > 1e6) throw new Error(`${file.name} is larger than 1 MB: no list of names.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is not UTF-8 text. Save it as UTF-8.`);
  }
  if (text.includes("\0")) throw new Error(`${file.name} is no text file.`);
  const rows = /^id,name(,|\r?\n)/.test(text) ? csvNames(text) : text;
  const names = namesOf(rows);
  if (!names.length) throw new Error(`${file.name} has no names in it. Write one a line.`);
  return names;
}

function csvNames(text) {
  const field = /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/gy;
  const names = [];
  let column = 0;
  for (let found; field.lastIndex < text.length && (found = field.exec(text));) {
    const value = found[1] === undefined ? found[2] : found[1].replaceAll('""', '"');
    if (column === 1) names.push(value);
    column = found[3] === "," ? column + 1 : 0;
  }
  return names.slice(1).join("\n");
}
