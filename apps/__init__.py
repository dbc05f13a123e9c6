"""Programs that put the packages together; nothing imports them."""
