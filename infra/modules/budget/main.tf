data "google_project" "this" {
  project_id = var.project
}

# A budget tells; it stops nothing.
resource "google_billing_budget" "month" {
  billing_account = var.billing_account
  display_name    = "Coinbeam"

  budget_filter {
    projects               = ["projects/${data.google_project.this.number}"]
    credit_types_treatment = "EXCLUDE_ALL_CREDITS"
  }

  amount {
    specified_amount {
      currency_code = var.currency
      units         = tostring(var.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = toset(["0.5", "0.9", "1"])

    content {
      threshold_percent = tonumber(threshold_rules.value)
    }
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = [var.channel]
    disable_default_iam_recipients   = false
  }
}
