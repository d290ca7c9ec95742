data "google_project" "this" {
  project_id = var.project
}

locals {
  by_iap = var.sign_in == "iap"

  # One processor has 4 GiB at most. Source: https://cloud.google.com/run/docs/configuring/memory-limits
  processors = tonumber(trimsuffix(var.memory, "Gi")) > 4 ? "2" : "1"

  # What tells the two services apart. Both run one image and read the bundle, nothing else.
  services = {
    api = {
      description = "The market over HTTP, in the shape of CoinGecko's API"
      command     = "serve"
      alive       = "/health"
      ready       = "/ready" # no request before the bundle is there
      requests    = 80
      seconds     = 60
      sticky      = false
      iap         = false
      environment = { COINBEAM_SERVING__KEYS_REQUIRED = "true" }
    }
    dashboard = {
      description = "The market and the trust in it, in a browser"
      command     = "dashboard"
      alive       = "/_stcore/health"
      ready       = "/_stcore/health"
      requests    = 40
      seconds     = 3600 # a page holds a WebSocket open; Cloud Run closes it after an hour at the latest, and the page opens another one
      sticky      = true # a session lives in one instance
      iap         = local.by_iap
      environment = merge(
        { COINBEAM_SERVING__SIGN_IN = var.sign_in },
        local.by_iap ? { COINBEAM_SERVING__IAP_AUDIENCE = local.audience } : {},
      )
    }
  }

  # Of the assertions that IAP signs for this service, and for no other.
  # Source: https://cloud.google.com/iap/docs/signed-headers-howto
  audience = "/projects/${data.google_project.this.number}/locations/${var.region}/services/coinbeam-dashboard"

  # Streamlit's secrets of the project, /app/.streamlit/secrets.toml; only the sign-in by OpenID Connect has any.
  secrets = local.by_iap ? {} : { dashboard = "/app/.streamlit" }

  # Behind IAP only its agent calls the dashboard, for those who are let in there.
  callers = merge(
    { for member in var.invokers : "api ${member}" => { service = "api", member = member } },
    { for member in var.viewers : "dashboard ${member}" => { service = "dashboard", member = member } if !local.by_iap },
  )
}

resource "google_service_account" "service" {
  for_each = local.services

  project      = var.project
  account_id   = "coinbeam-${each.key}"
  display_name = "Coinbeam ${each.key}"
  description  = "${each.value.description}: reads the bundle"
}

# Bytes of objects below serving/ alone: landing, batches and the warehouse are out of reach. The bucket itself is no object: who may not list
# it is told 403 instead of 404 of an object that is not there yet, such as the keys.
resource "google_storage_bucket_iam_member" "bundle" {
  for_each = local.services

  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.service[each.key].member

  condition {
    title       = "the bundle only"
    description = "Objects below serving/"
    expression = join(" || ", [
      "resource.type != \"storage.googleapis.com/Object\"",
      "resource.name.startsWith(\"projects/_/buckets/${var.bucket}/objects/serving/\")",
    ])
  }
}

resource "google_secret_manager_secret_iam_member" "sign_in" {
  for_each = local.secrets

  project   = var.project
  secret_id = var.oidc_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.service[each.key].member
}

# From the beta provider, since `iap_enabled` is not in the other one before its version 7.
resource "google_cloud_run_v2_service" "service" {
  for_each = local.services
  provider = google-beta

  project             = var.project
  location            = var.region
  name                = "coinbeam-${each.key}"
  description         = each.value.description
  ingress             = "INGRESS_TRAFFIC_ALL" # from anywhere, by those who may: see the grants below
  iap_enabled         = each.value.iap
  deletion_protection = false # it holds nothing

  template {
    service_account                  = google_service_account.service[each.key].email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = each.value.requests
    timeout                          = "${each.value.seconds}s"
    session_affinity                 = each.value.sticky

    scaling {
      min_instance_count = 0 # costs nothing while nobody asks
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image
      args  = [each.value.command, "--host", "0.0.0.0", "--port", "8080"]

      ports {
        container_port = 8080
      }

      # Copies of the bundle's files lie in memory, too: the file system of an instance is made of it. A volume would belong to root, and the
      # process is another user; the reader itself drops what it does not need.
      resources {
        limits            = { cpu = local.processors, memory = var.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(each.value.environment, {
          COINBEAM_ENV             = "production"
          COINBEAM_GOOGLE__PROJECT = var.project
          COINBEAM_STORAGE__BUCKET = var.bucket
        })

        content {
          name  = env.key
          value = env.value
        }
      }

      # Probes reach the container itself. From outside Cloud Run answers paths that end in z on its own.
      # Source: https://cloud.google.com/run/docs/known-issues
      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 4
        failure_threshold = 36 # three minutes

        http_get {
          path = each.value.ready
          port = 8080
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = each.value.alive
          port = 8080
        }
      }

      dynamic "volume_mounts" {
        for_each = { for service, folder in local.secrets : "sign-in" => folder if service == each.key }

        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value
        }
      }
    }

    dynamic "volumes" {
      for_each = { for service, folder in local.secrets : "sign-in" => var.oidc_secret if service == each.key }

      content {
        name = volumes.key

        secret {
          secret = volumes.value

          items {
            path    = "secrets.toml"
            version = "latest"
          }
        }
      }
    }
  }

  # Which image runs, and which revision answers, belongs to releases and to whoever rolls one back.
  lifecycle {
    ignore_changes = [client, client_version, template[0].containers[0].image, template[0].labels, template[0].revision, traffic]
  }

  # An instance that cannot read the bundle or its secret never gets ready, and the apply fails.
  depends_on = [google_storage_bucket_iam_member.bundle, google_secret_manager_secret_iam_member.sign_in]
}

# Nobody by default. A caller of the API brings a token of Google's beside its key, unless everybody is let in.
resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = local.callers

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.service[each.value.service].name
  role     = "roles/run.invoker"
  member   = each.value.member
}

resource "google_project_service_identity" "iap" {
  count    = local.by_iap ? 1 : 0
  provider = google-beta

  project = var.project
  service = "iap.googleapis.com"
}

resource "google_cloud_run_v2_service_iam_member" "iap" {
  count = local.by_iap ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.service["dashboard"].name
  role     = "roles/run.invoker"
  member   = google_project_service_identity.iap[0].member
}

resource "google_iap_web_cloud_run_service_iam_member" "viewer" {
  for_each = toset(local.by_iap ? var.viewers : [])

  project                = var.project
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.service["dashboard"].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.key
}

# A release puts its image into the services, which run as these accounts; it may not change who calls them.
resource "google_cloud_run_v2_service_iam_member" "deployer" {
  for_each = local.services

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.service[each.key].name
  role     = "roles/run.developer"
  member   = var.deployer
}

resource "google_service_account_iam_member" "deployer" {
  for_each = local.services

  service_account_id = google_service_account.service[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = var.deployer
}
