output "workload_identity_provider" {
  description = "Full name of the provider, for the sign-in step of GitHub Actions; null without a repository."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}

output "substitutions" {
  description = "Substitutions of a build, whoever submits it, and with _PROFILE which file they are for."
  value       = merge(var.substitutions, { _PROFILE = var.profile })
}
