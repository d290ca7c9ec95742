output "tables" {
  description = "Tables by dataset.table; views are left out, since their SQL is a template that `coinbeam contracts apply` renders."
  value       = { for name, table in local.described : name => table if !table.is_view }
}

output "views" {
  description = "Views by dataset.view."
  value       = { for name, table in local.described : name => table if table.is_view }
}
