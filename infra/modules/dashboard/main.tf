locals {
  # Each recorded batch is one line of the log, in Composer and in a Cloud Run job alike: coinbeam/ops/batch_line.py.
  of_tasks = "(resource.type = \"cloud_composer_environment\" OR resource.type = \"cloud_run_job\")"
  recorded = "${local.of_tasks} AND textPayload =~ \"Batch recorded: \""

  # The numbers of that line, each a distribution whose mean is exact: one line a batch.
  numbers = {
    rows_published     = { about = "Rows of a batch that readers see", unit = "1" }
    rows_rejected      = { about = "Records of a batch that were refused", unit = "1" }
    api_calls          = { about = "Calls that a batch made", unit = "1" }
    calls_left         = { about = "Calls that the month has left after a batch", unit = "1" }
    quota_left_percent = { about = "The same as a share of the plan", unit = "%" }
    age_seconds        = { about = "From the instant that a batch stands for to its record", unit = "s" }
  }

  labels = {
    table  = "REGEXP_EXTRACT(textPayload, \"Batch recorded: .*table_name=([a-z_]+)\")"
    status = "REGEXP_EXTRACT(textPayload, \"Batch recorded: .*status=([a-z]+)\")"
  }

  ours = "metric.type = \"logging.googleapis.com/user/coinbeam_"

  of_dataflow = "resource.type = \"dataflow_job\""
  of_composer = join(" AND ", [
    "resource.type = \"cloud_composer_environment\"",
    "resource.labels.environment_name = \"${coalesce(var.composer, "none")}\"",
  ])
  of_services = join(" AND ", [
    "resource.type = \"cloud_run_revision\"",
    "resource.labels.service_name = one_of(${join(", ", [for name in values(var.services) : "\"${name}\""])})",
  ])

  # In the order of the questions of somebody who was just woken: is it fresh, did it come, what was refused, what is left, what runs, what it costs.
  market = [
    {
      title = "Freshness: checks from outside of Airflow, by result"
      bars  = true
      sets = [{
        filter = join(" AND ", [
          "resource.type = \"bigquery_dts_config\"",
          "resource.labels.config_id = \"${var.freshness_config}\"",
          "metric.type = \"bigquerydatatransfer.googleapis.com/transfer_config/completed_runs\"",
        ])
        aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = ["metric.label.completion_state"]
      }]
    },
    {
      title = "Batches, by table and how they ended"
      bars  = true
      sets = [{
        filter  = "${local.ours}batches\""
        aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = ["metric.label.table", "metric.label.status"]
      }]
    },
    {
      title = "Lag: from the instant of a batch to its record"
      unit  = "s"
      sets = [{
        filter  = "${local.ours}age_seconds\""
        aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = ["metric.label.table"]
      }]
    },
    {
      title = "Rows published, by table"
      bars  = true
      sets = [{
        filter  = "${local.ours}rows_published\""
        aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = ["metric.label.table"]
      }]
    },
    {
      title = "Records refused, by table"
      bars  = true
      sets = [{
        filter  = "${local.ours}rows_rejected\""
        aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = ["metric.label.table"]
      }]
    },
    {
      title = "Calls of a batch, by table"
      bars  = true
      sets = [{
        filter  = "${local.ours}api_calls\""
        aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = ["metric.label.table"]
      }]
    },
    {
      title = "Quota: calls that the month has left"
      sets  = [{ filter = "${local.ours}calls_left\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = [] }]
    },
    {
      title = "Quota: share of the month that is left"
      unit  = "%"
      line  = { value = 10, label = "an alert" }
      sets  = [{ filter = "${local.ours}quota_left_percent\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_MEAN", group = [] }]
    },
    {
      title = "Dataflow: jobs that failed"
      bars  = true
      sets = [{
        filter  = "${local.of_dataflow} AND metric.type = \"dataflow.googleapis.com/job/is_failed\""
        aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["resource.label.job_name"]
      }]
    },
    {
      title = "Cost: bytes that BigQuery bills"
      unit  = "By"
      bars  = true
      line  = { value = 1099511627776, label = "6.25 dollars" }
      sets = [{
        filter  = "resource.type = \"global\" AND metric.type = \"bigquery.googleapis.com/query/scanned_bytes_billed\""
        aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = [], seconds = 86400
      }]
    },
    {
      title = "Cost: seconds of Dataflow's processors, by job"
      unit  = "s"
      sets = [{
        filter  = "${local.of_dataflow} AND metric.type = \"dataflow.googleapis.com/job/total_vcpu_time\""
        aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["resource.label.job_name"]
      }]
    },
    {
      title = "Cost: bytes in the bucket, by class"
      unit  = "By"
      sets = [{
        filter = join(" AND ", [
          "resource.type = \"gcs_bucket\"",
          "resource.labels.bucket_name = \"${var.bucket}\"",
          "metric.type = \"storage.googleapis.com/storage/total_bytes\"",
        ])
        aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["metric.label.storage_class"], seconds = 86400
      }]
    },
    {
      title = "Cost: bytes of logs since the first of the month"
      unit  = "By"
      line  = { value = 53687091200, label = "50 GiB are free" }
      sets = [{
        filter  = "resource.type = \"global\" AND metric.type = \"logging.googleapis.com/billing/monthly_bytes_ingested\""
        aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = []
      }]
    },
  ]

  composer = [
    for chart in [
      {
        title = "Airflow: runs, by DAG and how they ended"
        bars  = true
        sets = [{
          filter  = "resource.type = \"cloud_composer_workflow\" AND metric.type = \"composer.googleapis.com/workflow/run_count\""
          aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = ["resource.label.workflow_name", "metric.label.state"]
        }]
      },
      {
        title = "Airflow: tasks that wait or run"
        sets = [{
          filter  = "${local.of_composer} AND metric.type = \"composer.googleapis.com/environment/unfinished_task_instances\""
          aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["metric.label.state"], seconds = 300
        }]
      },
      {
        title = "Composer: share of its time healthy, and DAG files that do not import"
        sets = [
          {
            filter  = "${local.of_composer} AND metric.type = \"composer.googleapis.com/environment/healthy\""
            aligner = "ALIGN_FRACTION_TRUE", reducer = "REDUCE_MEAN", group = [], legend = "healthy"
          },
          {
            filter  = "${local.of_composer} AND metric.type = \"composer.googleapis.com/environment/dag_processing/parse_error_count\""
            aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = [], legend = "do not import"
          },
        ]
      },
    ] : chart if var.composer != null
  ]

  serving = [
    for chart in [
      {
        title = "API, from outside: share of the answers that are right"
        sets = [{
          filter = join(" AND ", [
            "resource.type = \"uptime_url\"",
            "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
            "metric.labels.check_id = \"${coalesce(var.uptime_check, "none")}\"",
          ])
          aligner = "ALIGN_FRACTION_TRUE", reducer = "REDUCE_MEAN", group = []
        }]
      },
      {
        title = "Services: answers a second, by class of their status"
        sets = [{
          filter  = "${local.of_services} AND metric.type = \"run.googleapis.com/request_count\""
          aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", seconds = 300
          group   = ["resource.label.service_name", "metric.label.response_code_class"]
        }]
      },
      {
        title = "API: 95th percentile of its time to answer"
        unit  = "ms"
        line  = { value = 2000, label = "an alert" }
        sets = [{
          filter = join(" AND ", [
            "resource.type = \"cloud_run_revision\"",
            "resource.labels.service_name = \"${lookup(var.services, "api", "")}\"",
            "metric.type = \"run.googleapis.com/request_latencies\"",
          ])
          aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", group = [], seconds = 300
        }]
      },
      {
        title = "Cost: seconds of instances that Cloud Run bills"
        unit  = "s"
        bars  = true
        sets = [{
          filter  = "${local.of_services} AND metric.type = \"run.googleapis.com/container/billable_instance_time\""
          aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", group = ["resource.label.service_name"]
        }]
      },
    ] : chart if length(var.services) > 0
  ]

  stream = [
    for chart in [
      {
        title = "Live trades: how long the oldest message waits"
        unit  = "s"
        sets = [{
          filter = join(" AND ", [
            "resource.type = \"pubsub_subscription\"",
            "resource.labels.subscription_id = one_of(\"${try(var.stream.windows, "")}\", \"${try(var.stream.landing, "")}\")",
            "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
          ])
          aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group = ["resource.label.subscription_id"], seconds = 60
        }]
      },
      {
        title = "Live trades: age of the watermark, and lag of the job"
        unit  = "s"
        sets = [
          for metric, legend in { data_watermark_age = "watermark", system_lag = "lag" } : {
            filter = join(" AND ", [
              local.of_dataflow,
              "resource.labels.job_name = \"trade-windows\"",
              "metric.type = \"dataflow.googleapis.com/job/${metric}\"",
            ])
            aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group = [], seconds = 60, legend = legend
          }
        ]
      },
      {
        title = "Live trades: requests to publish, a second"
        sets = [{
          filter = join(" AND ", [
            "resource.type = \"pubsub_topic\"",
            "resource.labels.topic_id = \"${try(var.stream.topic, "")}\"",
            "metric.type = \"pubsub.googleapis.com/topic/send_request_count\"",
          ])
          aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", group = [], seconds = 60
        }]
      },
    ] : chart if var.stream != null
  ]

  charts = concat(local.market, local.composer, local.serving, local.stream)

  # Three a row.
  tiles = [
    for place, chart in local.charts : {
      xPos   = place % 3 * 16
      yPos   = 12 + floor(place / 3) * 14
      width  = 16
      height = 14

      widget = {
        title = chart.title

        xyChart = {
          chartOptions = { mode = "COLOR" }
          thresholds   = [for line in [try(chart.line, null)] : line if line != null]

          dataSets = [
            for set in chart.sets : {
              plotType       = try(chart.bars, false) ? "STACKED_BAR" : "LINE"
              legendTemplate = try(set.legend, "")
              targetAxis     = "Y1"

              timeSeriesQuery = {
                unitOverride = try(chart.unit, "1")

                timeSeriesFilter = {
                  filter = set.filter

                  aggregation = {
                    alignmentPeriod    = "${try(set.seconds, 3600)}s"
                    perSeriesAligner   = set.aligner
                    crossSeriesReducer = set.reducer
                    groupByFields      = set.group
                  }
                }
              }
            }
          ]
        }
      }
    }
  ]

  below = 12 + ceil(length(local.charts) / 3) * 14
}

resource "google_logging_metric" "batches" {
  project          = var.project
  name             = "coinbeam_batches"
  description      = "Recorded batches, by table and how they ended"
  filter           = local.recorded
  label_extractors = local.labels

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = local.labels

      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }
}

resource "google_logging_metric" "number" {
  for_each = local.numbers

  project          = var.project
  name             = "coinbeam_${each.key}"
  description      = each.value.about
  filter           = "${local.recorded} AND textPayload =~ \" ${each.key}=[0-9]\""
  value_extractor  = "REGEXP_EXTRACT(textPayload, \"Batch recorded: .* ${each.key}=([0-9]+)\")"
  label_extractors = { table = local.labels.table }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit

    labels {
      key        = "table"
      value_type = "STRING"
    }
  }
}

resource "google_monitoring_dashboard" "this" {
  project = var.project

  dashboard_json = jsonencode({
    displayName = "Coinbeam"

    mosaicLayout = {
      columns = 48

      tiles = concat(
        [
          {
            xPos = 0, yPos = 0, width = 16, height = 12

            widget = {
              title = "What to do"

              text = {
                format  = "MARKDOWN"
                content = <<-TEXT
                  `coinbeam status` says the same of the tables, with causes in words.
                  Each incident names its page of `docs/runbooks`; `docs/runbooks/README.md` lists them all.
                  What is normal for a month: `docs/costs.md`.
                TEXT
              }
            }
          },
          {
            xPos   = 16, yPos = 0, width = 32, height = 12
            widget = { title = "Open incidents", incidentList = {} }
          },
        ],
        local.tiles,
        [
          {
            xPos = 0, yPos = local.below, width = 48, height = 18

            widget = {
              title = "Batches, and tasks that failed"

              logsPanel = {
                filter        = "${local.of_tasks} AND (textPayload =~ \"Batch recorded: \" OR textPayload =~ \"Runbook: \")"
                resourceNames = ["projects/${var.project}"]
              }
            }
          },
        ],
      )
    }
  })
}
