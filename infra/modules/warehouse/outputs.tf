output "datasets" {
  description = "Ids of the datasets by their logical names."
  value       = local.datasets
}
