locals {
  # Each API with the part that calls it.
  # Terraform itself calls the first three, so that a person switches them on before the first plan: serviceusage switches APIs on, and with
  # user_project_override each call asks it for the quota; the others look at the project and at the bucket of the state. See README.md.
  apis = toset([
    "serviceusage.googleapis.com",         # this list
    "cloudresourcemanager.googleapis.com", # project-level roles
    "storage.googleapis.com",              # landing and batch files
    "artifactregistry.googleapis.com",     # images of the jobs
    "bigquery.googleapis.com",             # the warehouse
    "bigquerydatatransfer.googleapis.com", # the scheduled freshness check
    "bigquerystorage.googleapis.com",      # whole tables, for the serving bundle
    "billingbudgets.googleapis.com",       # the budget
    "cloudbuild.googleapis.com",           # releases
    "cloudscheduler.googleapis.com",       # the schedule of the small profile
    "composer.googleapis.com",             # Airflow
    "compute.googleapis.com",              # network and workers
    "containeranalysis.googleapis.com",    # what a scan found
    "containerscanning.googleapis.com",    # scan of each image that is pushed
    "dataflow.googleapis.com",             # Beam jobs
    "eventarc.googleapis.com",             # the inbox of the small profile
    "iam.googleapis.com",                  # service accounts and the identity pool
    "iamcredentials.googleapis.com",       # short-lived credentials for GitHub Actions
    "iap.googleapis.com",                  # the sign-in of the dashboard
    "logging.googleapis.com",              # log bucket and sink
    "monitoring.googleapis.com",           # alerts
    "pubsub.googleapis.com",               # trades
    "run.googleapis.com",                  # the API, the dashboard, and the job of the small profile
    "secretmanager.googleapis.com",        # the API key
    "sts.googleapis.com",                  # exchange of GitHub's token
    "workflows.googleapis.com",            # the inbox of the small profile
  ])
}

resource "google_project_service" "api" {
  for_each = local.apis

  project            = var.project
  service            = each.key
  disable_on_destroy = false # another system of the project may use it
}
