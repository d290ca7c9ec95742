locals {
  accounts = {
    composer = "Airflow: plans, loads and publishes batches, and launches Dataflow jobs"
    dataflow = "Workers and launchers of the Beam jobs"
    build    = "Cloud Build: builds images, migrates tables, uploads releases"
    reader   = "Dashboards and the freshness check: reads the marts"
  }

  # Roles that cannot be given on anything smaller than the project, each with its reason. Everything else is bound to the bucket, dataset,
  # secret, repository, queue or account that it is for, in the module of that thing.
  project_roles = {
    composer = [
      "roles/composer.worker",          # what Composer asks of the account of an environment
      "roles/dataflow.developer",       # launch, watch and cancel jobs; jobs are resources of the project
      "roles/bigquery.jobUser",         # run queries and loads; jobs are resources of the project
      "roles/bigquery.readSessionUser", # the serving bundle reads by the Storage Read API; sessions are resources of the project
    ]
    dataflow = [
      "roles/dataflow.worker",  # what Dataflow asks of the account of its workers
      "roles/bigquery.jobUser", # the ledger of API calls is settled by queries
    ]
    build = [
      "roles/logging.logWriter",                 # a build under its own account writes its own log
      "roles/cloudbuild.builds.editor",          # GitHub Actions, acting as this account, submits builds
      "roles/serviceusage.serviceUsageConsumer", # `gcloud builds submit` names the project as the one whose quota is used
      "roles/bigquery.jobUser",                  # additive migrations are queries

      "roles/containeranalysis.occurrences.viewer", # what the registry's scan found stops a release, or does not
    ]
    reader = [
      "roles/bigquery.jobUser", # queries on the marts
    ]
  }

  # Without Composer nobody runs as these two.
  large = toset(["composer", "dataflow"])
  names = toset([for name in keys(local.accounts) : name if var.profile == "composer" || !contains(local.large, name)])

  grants = merge([
    for account, roles in local.project_roles : { for role in roles : "${account} ${role}" => { account = account, role = role } } if contains(local.names, account)
  ]...)
}

resource "google_service_account" "account" {
  for_each = local.names

  project      = var.project
  account_id   = "coinbeam-${each.key}"
  display_name = "Coinbeam ${each.key}"
  description  = local.accounts[each.key]
}

resource "google_project_iam_member" "grant" {
  for_each = local.grants

  project = var.project
  role    = each.value.role
  member  = google_service_account.account[each.value.account].member
}

# Airflow launches jobs that run as the account of the workers.
resource "google_service_account_iam_member" "composer_launches_as_dataflow" {
  count = var.profile == "composer" ? 1 : 0

  service_account_id = google_service_account.account["dataflow"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.account["composer"].member
}

# GitHub Actions, acting as the build account, submits builds that run as the same account.
resource "google_service_account_iam_member" "build_submits_as_itself" {
  service_account_id = google_service_account.account["build"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.account["build"].member
}
