output "network" {
  description = "Id of the network."
  value       = google_compute_network.this.id
}

output "subnetwork" {
  description = "Id of the subnetwork."
  value       = google_compute_subnetwork.workers.id
}

output "subnetwork_path" {
  description = "The subnetwork as Dataflow wants it: regions/R/subnetworks/S."
  value       = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
}
