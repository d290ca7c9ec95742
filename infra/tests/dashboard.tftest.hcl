# The dashboard alone, where Airflow runs elsewhere and nothing is served or streamed: no chart of what is not there.

mock_provider "google" {}

variables {
  project          = "my-project"
  bucket           = "my-project-coinbeam"
  freshness_config = "freshness-check"
  composer         = null
  uptime_check     = null
  services         = {}
  stream           = null
}

run "no_chart_stays_empty" {
  command = plan

  module {
    source = "./modules/dashboard"
  }

  assert {
    condition = [
      for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles :
      tile.widget.title if strcontains(jsonencode(tile), "composer.googleapis.com") || strcontains(jsonencode(tile), "run.googleapis.com") || strcontains(jsonencode(tile), "pubsub.googleapis.com")
    ] == []
    error_message = "Charts are of what is there."
  }

  assert {
    condition     = strcontains(google_monitoring_dashboard.this.dashboard_json, "coinbeam_rows_published")
    error_message = "Batches are batches wherever they run."
  }
}
