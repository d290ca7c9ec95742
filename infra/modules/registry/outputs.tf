output "name" {
  description = "Name of the repository."
  value       = google_artifact_registry_repository.images.name
}

output "prefix" {
  description = "What the name of every image begins with."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}
