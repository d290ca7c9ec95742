output "apis" {
  description = "The APIs that are switched on."
  value       = local.apis
}
