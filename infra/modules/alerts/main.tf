locals {
  # Thresholds on metrics: more than `above` within `seconds`.
  metrics = {
    dag_failed = {
      title = "An Airflow run failed"
      text  = "Open the run in the Airflow UI; `coinbeam status` shows the batch and the reason. A retry of the failed task is safe."
      filter = join(" AND ", [
        "resource.type = \"cloud_composer_workflow\"",
        "metric.type = \"composer.googleapis.com/workflow/run_count\"",
        "metric.labels.state = \"failed\"",
      ])
      aligner = "ALIGN_SUM"
      seconds = 300
      above   = 0
    }
    job_failed = {
      title   = "A Dataflow job failed"
      text    = "The task that launched it says why in its log; the job's own log is in Dataflow under the same name."
      filter  = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/is_failed\""
      aligner = "ALIGN_MAX"
      seconds = 60
      above   = 0
    }
  }

  # Live trades, where there are any. Each text names the section of docs/runbooks/stream.md that says what to do.
  streamed = {
    for name, policy in {
      stream_lags = {
        title = "The stream lags"
        text  = "A message of `trade-windows` has waited for five minutes: the job is down, or cannot keep up. docs/runbooks/stream.md, section 'The stream lags'."
        filter = join(" AND ", [
          "resource.type = \"pubsub_subscription\"",
          "resource.labels.subscription_id = \"${try(var.stream.windows, "")}\"",
          "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
        ])
        aligner = "ALIGN_MAX"
        seconds = 60
        above   = 300
      }
      watermark_stands = {
        title = "The watermark of the stream stands still"
        text  = "No window of the last ten minutes closes. docs/runbooks/stream.md, section 'The stream lags'."
        filter = join(" AND ", [
          "resource.type = \"dataflow_job\"",
          "resource.labels.job_name = \"trade-windows\"",
          "metric.type = \"dataflow.googleapis.com/job/data_watermark_age\"",
        ])
        aligner = "ALIGN_MAX"
        seconds = 60
        above   = 600
      }
      step_is_stuck = {
        title = "A step of the stream is stuck"
        text  = "A message has been under way inside of the job for five minutes. docs/runbooks/stream.md, section 'The stream lags'."
        filter = join(" AND ", [
          "resource.type = \"dataflow_job\"",
          "resource.labels.job_name = \"trade-windows\"",
          "metric.type = \"dataflow.googleapis.com/job/system_lag\"",
        ])
        aligner = "ALIGN_MAX"
        seconds = 60
        above   = 300
      }
      landing_lags = {
        title = "Trades are not landed"
        text  = "A message of `trades-landing` has waited for half an hour, and is lost to the batch after a day. docs/runbooks/stream.md, section 'No trades come'."
        filter = join(" AND ", [
          "resource.type = \"pubsub_subscription\"",
          "resource.labels.subscription_id = \"${try(var.stream.landing, "")}\"",
          "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
        ])
        aligner = "ALIGN_MAX"
        seconds = 60
        above   = 1800
      }
      refills_fail = {
        title = "A gap stays open"
        text  = "The venue refused to refill a gap more than twenty times in ten minutes. docs/runbooks/stream.md, section 'A gap stays open'."
        filter = join(" AND ", [
          "resource.type = \"cloud_run_worker_pool\"",
          "metric.type = \"logging.googleapis.com/user/coinbeam_failed_refills\"",
        ])
        aligner = "ALIGN_SUM"
        seconds = 600
        above   = 20
      }
    } : name => policy if var.stream != null
  }

  # What falls silent: nothing of it for so many seconds.
  silent = {
    for name, policy in {
      no_heartbeat = {
        title   = "No heartbeat comes"
        text    = "The publisher publishes nothing at all, and it should each second. docs/runbooks/stream.md, section 'No trades come'."
        filter  = "resource.type = \"pubsub_topic\" AND resource.labels.topic_id = \"${try(var.stream.topic, "")}\" AND metric.type = \"pubsub.googleapis.com/topic/send_request_count\""
        seconds = 300
      }
      no_trades = {
        title   = "No trades come"
        text    = "Nothing was landed for a quarter of an hour: heartbeats come, and no trade. docs/runbooks/stream.md, section 'No trades come'."
        filter  = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${try(var.stream.landing, "")}\" AND metric.type = \"pubsub.googleapis.com/subscription/push_request_count\""
        seconds = 900
      }
    } : name => policy if var.stream != null
  }

  of_publisher = join(" AND ", [
    "resource.type = \"cloud_run_worker_pool\"",
    "resource.labels.worker_pool_name = \"${try(var.stream.publisher, "")}\"",
  ])

  # Lines of the publisher and of the streaming job.
  told = {
    for name, policy in {
      trades_gone = {
        title  = "Trades are gone"
        text   = "The venue has no more what is missing: the windows of the gap stay marked as incomplete. docs/runbooks/stream.md, section 'A gap stays open'."
        filter = "${local.of_publisher} AND textPayload =~ \"trades from id .* are gone, or no trades; their windows stay incomplete\""
      }
      dead_letters = {
        title = "Trades could not be read"
        text  = "The lines are in crypto_ops.rejected_record, each with its reason. docs/runbooks/stream.md, section 'Dead letters'."
        filter = join(" AND ", [
          "resource.type = \"dataflow_step\"",
          "log_id(\"dataflow.googleapis.com/worker\")",
          "jsonPayload.message =~ \"lines of trades were refused\"",
        ])
      }
    } : name => policy if var.stream != null
  }

  of_services = join(" AND ", [
    "resource.type = \"cloud_run_revision\"",
    "resource.labels.service_name = one_of(${join(", ", [for name in values(var.services) : "\"${name}\""])})",
  ])

  # What readers meet, of each service by itself: more than `above` for `seconds`, as a share of the requests where there is one to divide by.
  served = {
    for name, policy in {
      server_errors = {
        title = "A service answers with errors of its own"
        text  = "More than one answer in twenty has a status of 500 or above. The runbook is docs/runbooks/serving.md."
        filter = join(" AND ", [
          local.of_services,
          "metric.type = \"run.googleapis.com/request_count\"",
          "metric.labels.response_code_class = \"5xx\"",
        ])
        divisor = ["${local.of_services} AND metric.type = \"run.googleapis.com/request_count\""]
        aligner = "ALIGN_DELTA"
        reducer = "REDUCE_SUM"
        seconds = 300
        above   = 0.05
      }
      # Not of the dashboard: its requests are WebSockets, which last as long as somebody looks.
      slow = {
        title = "The API is slow"
        text  = "One answer in twenty takes two seconds or longer, for a quarter of an hour. The runbook is docs/runbooks/serving.md."
        filter = join(" AND ", [
          "resource.type = \"cloud_run_revision\"",
          "resource.labels.service_name = \"${lookup(var.services, "api", "")}\"",
          "metric.type = \"run.googleapis.com/request_latencies\"",
        ])
        divisor = []
        aligner = "ALIGN_PERCENTILE_95"
        reducer = "REDUCE_MAX"
        seconds = 900
        above   = 2000
      }
    } : name => policy if length(var.services) > 0
  }

  # Log entries, each told at most once an hour.
  entries = {
    stale = {
      title = "The snapshots are stale"
      text  = "The newest snapshot that readers see is too old, or they cannot read at all. Begin with the newest run of crypto_etl_dag."
      filter = join(" AND ", [
        "resource.type = \"bigquery_dts_config\"",
        "resource.labels.config_id = \"${var.freshness_config}\"",
        "severity >= ERROR",
      ])
    }
    job_errors = {
      title  = "A Dataflow worker logs errors"
      text   = "One bad page or file costs only itself and is in crypto_ops.rejected_record; many of the same kind mean that the source changed."
      filter = "resource.type = \"dataflow_step\" AND log_id(\"dataflow.googleapis.com/worker\") AND severity >= ERROR"
    }
    build_failed = {
      title  = "A release failed"
      text   = "Nothing was switched: the previous release goes on. Read the log of the build, mend, and push again."
      filter = "resource.type = \"build\" AND log_id(\"cloudbuild\") AND textPayload =~ \"^ERROR\""
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  project      = var.project
  display_name = "Coinbeam alerts"
  type         = "email"

  labels = {
    email_address = var.email
  }
}

resource "google_monitoring_alert_policy" "metric" {
  for_each = merge(local.metrics, local.streamed)

  depends_on = [google_logging_metric.failed_refills]

  project               = var.project
  display_name          = "Coinbeam: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = "0s"

      aggregations {
        alignment_period   = "${each.value.seconds}s"
        per_series_aligner = each.value.aligner
      }
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
  }
}

resource "google_logging_metric" "failed_refills" {
  count = var.stream == null ? 0 : 1

  project     = var.project
  name        = "coinbeam_failed_refills"
  description = "Questions of the publisher for missing trades that the venue did not answer"
  filter      = "${local.of_publisher} AND textPayload =~ \"; REST is asked again in \""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_monitoring_alert_policy" "silent" {
  for_each = local.silent

  project               = var.project
  display_name          = "Coinbeam: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_absent {
      filter   = each.value.filter
      duration = "${each.value.seconds}s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "served" {
  for_each = local.served

  project               = var.project
  display_name          = "Coinbeam: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter             = each.value.filter
      denominator_filter = one(each.value.divisor)
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.above
      duration           = "${each.value.seconds}s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = ["resource.label.service_name"]
      }

      dynamic "denominator_aggregations" {
        for_each = each.value.divisor

        content {
          alignment_period     = "300s"
          per_series_aligner   = each.value.aligner
          cross_series_reducer = each.value.reducer
          group_by_fields      = ["resource.label.service_name"]
        }
      }
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "entry" {
  for_each = merge(local.entries, local.told)

  project               = var.project
  display_name          = "Coinbeam: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_matched_log {
      filter = each.value.filter
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
  }
}
