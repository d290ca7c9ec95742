-- Exactly the publications of the plan: one that was published again meanwhile has another instant, and waits for the next refresh.
UPDATE {{ publication }} AS p
SET refreshed_at = {{ refreshed_at }}
WHERE p.refreshed_at IS NULL AND (
  {% for taken in publications %}
  {{ "OR " if not loop.first }}(p.batch_id = {{ taken[0] }} AND p.table_name = {{ taken[1] }} AND p.published_at = {{ taken[2] }})
  {% endfor %}
);
