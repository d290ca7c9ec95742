{% from "macros.sql" import seal -%}
{% for name, table in staged.items() %}
SELECT '{{ name }}' AS name, {{ seal("t") }} AS seal FROM {{ table }} AS t{{ "\nUNION ALL\n" if not loop.last }}
{%- endfor %};
