output "emails" {
  description = "E-mail addresses by role: composer, dataflow, build, reader."
  value       = { for role, account in google_service_account.account : role => account.email }
}

output "members" {
  description = "IAM members by role."
  value       = { for role, account in google_service_account.account : role => account.member }
}

output "names" {
  description = "Full resource names by role."
  value       = { for role, account in google_service_account.account : role => account.name }
}
