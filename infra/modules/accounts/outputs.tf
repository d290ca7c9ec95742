output "emails" {
  description = "E-mail addresses by role: build and reader, and in the large profile composer and dataflow."
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
