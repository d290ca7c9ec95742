"""Facts and marts as Apache Iceberg tables, with a tag for each batch."""
