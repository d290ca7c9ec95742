locals {
  # Thresholds on metrics: more than `above` within `seconds`. Each text names the page of docs/runbooks that says what to do.
  metrics = {
    job_failed = {
      title   = "A Dataflow job failed"
      text    = "The task that launched it says why in its log; the job's own log is in Dataflow under the same name. The runbook is docs/runbooks/README.md."
      filter  = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/is_failed\""
      aligner = "ALIGN_MAX"
      seconds = 60
      above   = 0
    }
    scanned_much = {
      title = "BigQuery scans much"
      text  = "Queries of a day were billed for more than a TiB, 200 times what the pipeline needs for a daily snapshot. The runbook is docs/runbooks/cost_review.md."
      filter = join(" AND ", [
        "resource.type = \"global\"",
        "metric.type = \"bigquery.googleapis.com/query/scanned_bytes_billed\"",
      ])
      aligner = "ALIGN_SUM"
      reducer = "REDUCE_SUM"
      seconds = 86400
      above   = 1099511627776
    }
  }

  # Airflow in Composer.
  composed = {
    for name, policy in {
      dag_failed = {
        title = "An Airflow run failed"
        text  = "Open the run in the Airflow UI; `coinbeam status` shows the batch and the reason. A retry of the failed task is safe. The runbook is docs/runbooks/README.md."
        filter = join(" AND ", [
          "resource.type = \"cloud_composer_workflow\"",
          "metric.type = \"composer.googleapis.com/workflow/run_count\"",
          "metric.labels.state = \"failed\"",
        ])
        aligner = "ALIGN_SUM"
        seconds = 300
        above   = 0
      }
      dags_do_not_import = {
        title = "DAGs do not import"
        text  = "Airflow cannot read a file of the release, and does not run its DAG. The runbook is docs/runbooks/roll_back.md."
        filter = join(" AND ", [
          "resource.type = \"cloud_composer_environment\"",
          "resource.labels.environment_name = \"${local.composer}\"",
          "metric.type = \"composer.googleapis.com/environment/dag_processing/parse_error_count\"",
        ])
        aligner = "ALIGN_SUM"
        seconds = 900
        above   = 0
      }
      composer_is_ill = {
        title = "Composer is not healthy"
        text  = "The environment said of itself in half an hour of the last hour that no DAG of Composer's own got through. The runbook is docs/runbooks/region_outage.md."
        filter = join(" AND ", [
          "resource.type = \"cloud_composer_environment\"",
          "resource.labels.environment_name = \"${local.composer}\"",
          "metric.type = \"composer.googleapis.com/environment/healthy\"",
        ])
        aligner = "ALIGN_COUNT_FALSE"
        seconds = 3600
        above   = 30
      }
    } : name => policy if var.composer != null
  }

  composer = coalesce(var.composer, "none")

  # From outside: more than one place that asks gets no answer.
  seen = {
    for name, policy in {
      api_is_down = {
        title = "The API does not answer"
        text  = "Two places outside get no answer for ten minutes, or a wrong one. The runbook is docs/runbooks/serving.md."
        filter = join(" AND ", [
          "resource.type = \"uptime_url\"",
          "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
          "metric.labels.check_id = \"${coalesce(var.uptime_check, "none")}\"",
        ])
        aligner  = "ALIGN_NEXT_OLDER"
        reducer  = "REDUCE_COUNT_FALSE"
        group    = ["resource.label.host"]
        seconds  = 1200
        duration = 600
        above    = 1
      }
    } : name => policy if length(var.services) > 0
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
    } : name => policy if var.stream != null
  }

  # Counts of lines, as PromQL: the API refuses a threshold on a metric that was made a moment ago, and is told here not to look.
  # Source: https://github.com/hashicorp/terraform-provider-google/issues/11102
  counted = {
    for name, policy in {
      refills_fail = {
        title = "A gap stays open"
        text  = "The venue refused to refill a gap more than twenty times in ten minutes. docs/runbooks/stream.md, section 'A gap stays open'."
        query = join("", [
          "sum(increase({\"__name__\"=\"logging.googleapis.com/user/coinbeam_failed_refills\",",
          "\"monitored_resource\"=\"cloud_run_worker_pool\"}[10m])) > 20",
        ])
      }
    } : name => policy if var.stream != null
  }

  # What falls silent: nothing of it for so many seconds.
  silent = merge(local.quiet, {
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
  })

  quiet = {
    for name, policy in {
      composer_is_silent = {
        title = "Composer says nothing"
        text  = "Nothing was heard of the environment for half an hour. The runbook is docs/runbooks/region_outage.md."
        filter = join(" AND ", [
          "resource.type = \"cloud_composer_environment\"",
          "resource.labels.environment_name = \"${local.composer}\"",
          "metric.type = \"composer.googleapis.com/environment/healthy\"",
        ])
        aligner = "ALIGN_COUNT_TRUE"
        seconds = 1800
      }
    } : name => policy if var.composer != null
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

  # The log of our tasks, in Composer and in a Cloud Run job: text, a line an entry.
  of_tasks = "(resource.type = \"cloud_composer_environment\" OR resource.type = \"cloud_run_job\")"

  # A task that failed for good says which page to open, by the class of its error: dags/operations.py.
  pages = merge(
    {
      outage_of_coingecko = "CoinGecko cannot be asked"
      blocked_publish     = "A batch was not published"
      exceeded_quota      = "A quota is used up"
      schema_change       = "A table is not what its contract says"
      rotate_the_key      = "CoinGecko refuses a call"
      README              = "A task failed"
    },
    var.stream == null ? {} : { stream = "Batch and stream differ" },
  )

  paged = {
    for page, title in local.pages : "page_${page}" => {
      title  = title
      text   = "The entry says which task failed, of which batch, and why; `coinbeam status` shows the same. The runbook is docs/runbooks/${page}.md."
      filter = "${local.of_tasks} AND textPayload =~ \"Runbook: [^ ]+/${page}[.]md\""
    }
  }

  # Log entries, each told at most once an hour.
  entries = {
    stale = {
      title = "The snapshots are stale"
      text  = "The newest snapshot that readers see is too old, or they cannot read at all. Begin with the newest run of crypto_etl_dag. The runbook is docs/runbooks/README.md."
      filter = join(" AND ", [
        "resource.type = \"bigquery_dts_config\"",
        "resource.labels.config_id = \"${var.freshness_config}\"",
        "severity >= ERROR",
      ])
    }
    gap = {
      title  = "A snapshot is missing"
      text   = "Its interval passed before the source was asked, so that the batch is recorded as a gap; the day comes back from daily history. The runbook is docs/runbooks/backfill.md."
      filter = "${local.of_tasks} AND textPayload =~ \"Batch recorded: .*status=gap \""
    }
    quota_is_low = {
      title  = "The calls of the month run out"
      text   = "Less than a tenth of the month's calls is left. The runbook is docs/runbooks/exceeded_quota.md."
      filter = "${local.of_tasks} AND textPayload =~ \"Batch recorded: .*quota_left_percent=[0-9] \""
    }
    job_errors = {
      title  = "A Dataflow worker logs errors"
      text   = "One bad page or file costs only itself and is in crypto_ops.rejected_record; many of the same kind mean that the source changed. The runbook is docs/runbooks/blocked_publish.md."
      filter = "resource.type = \"dataflow_step\" AND log_id(\"dataflow.googleapis.com/worker\") AND severity >= ERROR"
    }
    build_failed = {
      title  = "A release failed"
      text   = "Nothing was switched: the previous release goes on. Read the log of the build, mend, and push again. The runbook is docs/runbooks/roll_back.md."
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
  for_each = merge(local.metrics, local.composed, local.seen, local.streamed)

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
      duration        = "${try(each.value.duration, 0)}s"

      aggregations {
        alignment_period     = "${each.value.seconds}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = try(each.value.reducer, null)
        group_by_fields      = try(each.value.group, null)
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

resource "google_monitoring_alert_policy" "counted" {
  for_each = local.counted

  project               = var.project
  display_name          = "Coinbeam: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "0s"
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
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
        per_series_aligner   = try(each.value.aligner, "ALIGN_DELTA")
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
  for_each = merge(local.entries, local.paged, local.told)

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
