output "job" {
  description = "Name of the job."
  value       = google_cloud_run_v2_job.batch.name
}

output "emails" {
  description = "E-mail addresses of the accounts: batch, scheduler, and inbox where there is one."
  value       = { for name, account in google_service_account.account : name => account.email }
}

output "members" {
  description = "IAM members of the accounts."
  value       = { for name, account in google_service_account.account : name => account.member }
}
