{% from "macros.sql" import seal -%}
-- What is published is what this attempt audited: the lease is still its own, and staging has the rows that passed.
SELECT
  IF(
    EXISTS (SELECT 1 FROM {{ target }} WHERE batch_id = {{ batch_id }} AND attempt = {{ attempt }}),
    TRUE, ERROR('{{ refuses }} another run audited the batch meanwhile and publishes it, and nothing of this run was published.')
  ) AS is_holder{% for name, table in staged.items() %},
  IF(
    (SELECT {{ seal("t") }} FROM {{ table }} AS t) = '{{ seals[name] }}',
    TRUE, ERROR('{{ refuses }} the staged rows of {{ name }} are no longer those that passed the audit, and nothing was published. Run the batch again.')
  ) AS is_{{ name }}_audited{% endfor %};
