output "deployment" {
  description = "What a release has to know of this deployment, in the shape of the settings: config/deployment.json without the release."
  value = {
    google = {
      project                  = var.project
      location                 = var.location
      region                   = var.region
      dataflow_service_account = lookup(module.accounts.emails, "dataflow", null)
      stream_service_account   = one(module.stream[*].emails["stream"])
    }
    storage = { bucket = module.bucket.name }
    market  = { period = var.schedule_period }
    coingecko = {
      plan           = var.coingecko_plan
      api_key_secret = var.coingecko_plan == "keyless" ? null : module.secret.latest_version
    }
    dataflow = { subnetwork = one(module.network[*].subnetwork_path), labels = local.labels }
    composer = { airflow_url = one(module.composer[*].airflow_url) }
  }
}

output "composer_bucket" {
  description = "Bucket of the Composer environment; releases are uploaded below its dags/ folder. Null in the small profile."
  value       = one(module.composer[*].bucket)
}

output "job" {
  description = "Name of the Cloud Run job of the small profile; null in the large one."
  value       = one(module.small[*].job)
}

output "substitutions" {
  description = "What `coinbeam release submit` reads, by hand or in GitHub Actions: the substitutions of a build, and the profile, which says whose."
  value       = module.build.substitutions
}

output "image_repository" {
  description = "Prefix of the names of the images."
  value       = module.registry.prefix
}

output "serving_urls" {
  description = "Addresses of the API and the dashboard; null while serving is off."
  value       = one(module.serving[*].urls)
}

output "workload_identity_provider" {
  description = "Name of the identity provider that GitHub Actions signs in with."
  value       = module.build.workload_identity_provider
}

output "service_accounts" {
  description = "E-mail addresses of the service accounts, by role."
  value       = merge(module.accounts.emails, concat(module.serving[*].emails, module.stream[*].emails, module.small[*].emails)...)
}
