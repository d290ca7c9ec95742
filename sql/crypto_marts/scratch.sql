-- The tables of a refresh itself, empty: made before the transaction, in which BigQuery is to see no DDL.
{% for name, columns in scratch.items() %}
CREATE OR REPLACE TEMP TABLE {{ name }} ({{ columns }});
{% endfor %}
