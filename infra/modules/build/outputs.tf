output "workload_identity_provider" {
  description = "Full name of the provider, for the sign-in step of GitHub Actions."
  value       = google_iam_workload_identity_pool_provider.github.name
}

output "substitutions" {
  description = "The substitutions of the trigger."
  value       = google_cloudbuild_trigger.release.substitutions
}
