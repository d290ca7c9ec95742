# The secret without a version: the key is added by hand, so that it is never in a file, a plan or the state.
resource "google_secret_manager_secret" "this" {
  project   = var.project
  secret_id = var.name

  replication {
    auto {}
  }

  version_destroy_ttl = "604800s" # a version that was destroyed by mistake can be had back for a week
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = var.readers

  project   = var.project
  secret_id = google_secret_manager_secret.this.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}

# Who read the key, and when.
resource "google_project_iam_audit_config" "secrets" {
  project = var.project
  service = "secretmanager.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
