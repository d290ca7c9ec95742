# What readers outside of the warehouse reach: nothing by default, and in each other case what the variable says.

mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

mock_provider "google-beta" {}

variables {
  project       = "my-project"
  region        = "us-central1"
  bucket        = "my-project-coinbeam"
  image         = "us-central1-docker.pkg.dev/my-project/coinbeam/serving:abc1234"
  invokers      = []
  viewers       = ["group:market-readers@example.com"]
  sign_in       = "iap"
  oidc_secret   = null
  max_instances = 2
  memory        = "2Gi"
  deployer      = "serviceAccount:coinbeam-build@my-project.iam.gserviceaccount.com"
}

run "the_proxy_lets_the_viewers_in_and_only_its_agent_calls" {
  command = plan

  module {
    source = "./modules/serving"
  }

  assert {
    condition     = google_cloud_run_v2_service.service["dashboard"].iap_enabled && !google_cloud_run_v2_service.service["api"].iap_enabled
    error_message = "The proxy is in front of the dashboard, and not of the API, whose callers are programs."
  }

  assert {
    condition     = keys(google_iap_web_cloud_run_service_iam_member.viewer) == ["group:market-readers@example.com"]
    error_message = "The viewers are let in by the proxy."
  }

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.caller) == 0 && length(google_cloud_run_v2_service_iam_member.iap) == 1
    error_message = "Nobody calls a service but the agent of the proxy."
  }

  assert {
    condition = contains(
      [for env in google_cloud_run_v2_service.service["dashboard"].template[0].containers[0].env : "${env.name}=${env.value}"],
      "COINBEAM_SERVING__IAP_AUDIENCE=/projects/123456789012/locations/us-central1/services/coinbeam-dashboard",
    )
    error_message = "The dashboard takes assertions of this service alone."
  }
}

run "a_sign_in_by_openid_connect_mounts_its_secret_and_asks_no_proxy" {
  command = plan

  module {
    source = "./modules/serving"
  }

  variables {
    sign_in     = "oidc"
    oidc_secret = "dashboard-sign-in"
    viewers     = ["allUsers"]
    invokers    = ["serviceAccount:shop@example.iam.gserviceaccount.com"]
  }

  assert {
    condition     = !google_cloud_run_v2_service.service["dashboard"].iap_enabled && length(google_project_service_identity.iap) == 0
    error_message = "There is no proxy."
  }

  assert {
    condition     = keys(google_secret_manager_secret_iam_member.sign_in) == ["dashboard"]
    error_message = "The dashboard reads its secret, and the API none."
  }

  assert {
    condition = (
      google_cloud_run_v2_service.service["dashboard"].template[0].volumes[0].secret[0].secret == "dashboard-sign-in"
      && google_cloud_run_v2_service.service["dashboard"].template[0].containers[0].volume_mounts[0].mount_path == "/app/.streamlit"
      && length(google_cloud_run_v2_service.service["api"].template[0].volumes) == 0
    )
    error_message = "Streamlit finds secrets.toml beside the code, and only the dashboard has one."
  }

  assert {
    condition = [for caller in google_cloud_run_v2_service_iam_member.caller : caller.member] == [
      "serviceAccount:shop@example.iam.gserviceaccount.com", "allUsers",
    ]
    error_message = "A browser brings no token of Google's: the dashboard lets everybody come to its own sign-in."
  }
}
