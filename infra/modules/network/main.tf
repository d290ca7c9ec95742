resource "google_compute_network" "this" {
  project                 = var.project
  name                    = "coinbeam"
  description             = "Composer and the Dataflow workers; no machine has an address of its own on the internet"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "workers" {
  #checkov:skip=CKV_GCP_76:The network has no IPv6 addresses
  project                  = var.project
  name                     = "coinbeam-${var.region}"
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.range
  private_ip_google_access = true # Cloud Storage, BigQuery and the registry without leaving Google's network

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# The way out to CoinGecko: one address, so that the limits that the source counts by address are shared with nobody.
resource "google_compute_router" "out" {
  project = var.project
  name    = "coinbeam-out"
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_address" "out" {
  project = var.project
  name    = "coinbeam-out"
  region  = var.region
}

resource "google_compute_router_nat" "out" {
  project                            = var.project
  name                               = "coinbeam-out"
  region                             = var.region
  router                             = google_compute_router.out.name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.out.self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.workers.self_link
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# Workers of one Dataflow job talk to each other on these two ports.
# Source: https://cloud.google.com/dataflow/docs/guides/routes-firewall
resource "google_compute_firewall" "shuffle" {
  project     = var.project
  name        = "coinbeam-dataflow-shuffle"
  network     = google_compute_network.this.id
  direction   = "INGRESS"
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}
