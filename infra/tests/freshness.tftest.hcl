# The freshness check alone: how often it runs follows the schedule of the snapshots.

mock_provider "google" {}

variables {
  project         = "my-project"
  location        = "US"
  service_account = "reader@my-project.iam.gserviceaccount.com"
  hours           = 26
  view            = "crypto_marts.price_history"
}

run "a_daily_snapshot_is_late_when_its_contract_says_so" {
  command = plan

  module {
    source = "./modules/freshness"
  }

  variables {
    period = "daily"
  }

  assert {
    condition     = strcontains(google_bigquery_data_transfer_config.check.params.query, "INTERVAL 26 HOUR")
    error_message = "The limit is the contract's."
  }

  assert {
    condition     = google_bigquery_data_transfer_config.check.schedule == "every day 04:00"
    error_message = "Long after midnight, when the snapshot is taken."
  }
}

run "an_hourly_snapshot_is_late_after_three_hours" {
  command = plan

  module {
    source = "./modules/freshness"
  }

  variables {
    period = "hourly"
  }

  assert {
    condition     = strcontains(google_bigquery_data_transfer_config.check.params.query, "INTERVAL 3 HOUR")
    error_message = "The contract is written for the daily snapshot."
  }

  assert {
    condition     = google_bigquery_data_transfer_config.check.schedule == "every 1 hours"
    error_message = "An hourly snapshot is looked at every hour."
  }
}
