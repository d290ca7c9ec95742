output "names" {
  description = "Names of the services: api and dashboard."
  value       = { for name, service in google_cloud_run_v2_service.service : name => service.name }
}

output "urls" {
  description = "Addresses: api and dashboard."
  value       = { for name, service in google_cloud_run_v2_service.service : name => service.uri }
}

output "emails" {
  description = "E-mail addresses of the accounts: api and dashboard."
  value       = { for name, account in google_service_account.service : name => account.email }
}
