locals {
  schedules = { daily = "every day 04:00", hourly = "every 1 hours" }

  # An hourly snapshot is late long before the contract, which is written for the daily one, says so.
  limit = var.period == "hourly" ? 3 : var.hours
}

# A scheduled query that fails when the newest snapshot is too old. It runs outside Airflow, so that it also tells of an Airflow that is
# down, and as the reader, over a view, so that it also tells when readers cannot read.
resource "google_bigquery_data_transfer_config" "check" {
  project              = var.project
  location             = var.location
  display_name         = "coinbeam freshness"
  data_source_id       = "scheduled_query"
  schedule             = local.schedules[var.period]
  service_account_name = var.service_account

  params = {
    query = <<-SQL
      SELECT
        IF(
          MAX(price_at) >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL ${local.limit} HOUR),
          'fresh',
          ERROR('The newest snapshot is older than ${local.limit} hours')
        ) AS freshness
      FROM `${var.view}`
      WHERE kind = 'snapshot' AND date >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)
    SQL
  }
}
