-- reference.dictionary
--
-- This warehouse's own description: the text of every comment, as rows.
--
-- grain: One row per table or view and column.
-- key: schema_name, table_name, column_position
-- columns:
--   schema_name VARCHAR - Schema.
--   table_name VARCHAR - Table or view.
--   column_position BIGINT - Position of the column, first is 1; 0 is the table itself.
--   column_name VARCHAR - Column; null for the table itself.
--   data_type VARCHAR - Type in DuckDB; `table` or `view` for the table itself.
--   description VARCHAR - What it means; the table's own text ends with its grain.

select * from dictionary_rows order by schema_name, table_name, column_position
