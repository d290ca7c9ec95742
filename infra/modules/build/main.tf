# GitHub Actions signs in with the token of its run: there is no key that could leak. Without a repository nobody signs in, and a person submits releases.
resource "google_iam_workload_identity_pool" "github" {
  count = var.github == null ? 0 : 1

  project                   = var.project
  workload_identity_pool_id = "coinbeam-github"
  display_name              = "Coinbeam on GitHub"
  description               = "Runs of GitHub Actions in ${var.github.owner}/${var.github.name}"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.github == null ? 0 : 1

  #checkov:skip=CKV_GCP_125:The condition asserts the numbers of owner and repository, and the ref, which hold with and without a GitHub environment; the check reads only sub
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "actions"
  display_name                       = "GitHub Actions"

  # Every repository of the world has a token of this issuer: only runs on the main branch of ours are let in. By number, since the name of an
  # owner or a repository that was renamed or deleted can be taken by somebody else.
  # Source: https://cloud.google.com/iam/docs/best-practices-for-using-workload-identity-federation
  attribute_condition = join(" && ", [
    "assertion.repository_id == \"${var.github.id}\"",
    "assertion.repository_owner_id == \"${var.github.owner_id}\"",
    "assertion.ref == \"refs/heads/main\"",
  ])

  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.ref"           = "assertion.ref"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "actions" {
  count = var.github == null ? 0 : 1

  service_account_id = var.service_account
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository_id/${var.github.id}"
}

# The same build, started by Google instead: for repositories without Actions. Only where asked for: a repository that the GitHub app of Cloud Build
# was not connected with, by hand, is refused ("Repository mapping does not exist"), and the whole apply with it.
resource "google_cloudbuild_trigger" "release" {
  count = var.deploys_from == "trigger" ? 1 : 0

  project         = var.project
  location        = var.region
  name            = "coinbeam-release"
  description     = "A release of every commit on main"
  filename        = var.profile == "small" ? "cloudbuild.small.yaml" : "cloudbuild.yaml"
  service_account = var.service_account
  substitutions   = var.substitutions

  github {
    owner = var.github.owner
    name  = var.github.name

    push {
      branch = "^main$"
    }
  }
}
