locals {
  repository = "${var.github.owner}/${var.github.name}"
}

# GitHub Actions signs in with the token of its run: there is no key that could leak.
resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project
  workload_identity_pool_id = "coinbeam-github"
  display_name              = "Coinbeam on GitHub"
  description               = "Runs of GitHub Actions in ${local.repository}"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:The condition asserts repository and ref, which hold with and without a GitHub environment; the check reads only sub
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "actions"
  display_name                       = "GitHub Actions"

  # Every repository of the world has a token of this issuer: only runs on the main branch of ours are let in.
  attribute_condition = "assertion.repository == \"${local.repository}\" && assertion.ref == \"refs/heads/main\""

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
    "attribute.ref"        = "assertion.ref"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "actions" {
  service_account_id = var.service_account
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.repository/${local.repository}"
}

# The same build, started by Google instead: for repositories without Actions. The GitHub app of Cloud Build has to be installed by hand.
resource "google_cloudbuild_trigger" "release" {
  project         = var.project
  location        = var.region
  name            = "coinbeam-release"
  description     = "A release of every commit on main"
  filename        = "cloudbuild.yaml"
  service_account = var.service_account
  disabled        = var.deploys_from != "trigger"
  substitutions   = var.substitutions

  github {
    owner = var.github.owner
    name  = var.github.name

    push {
      branch = "^main$"
    }
  }
}
