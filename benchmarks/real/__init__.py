"""Every benchmark on recordings of real people, in one table."""
