# Where the state may lie: not where the accounts of the workers have roles on the whole project.

mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

variables {
  project = "my-project"
  bucket  = "my-state"
}

run "a_state_beside_the_workers_is_refused" {
  command         = plan
  expect_failures = [data.google_storage_bucket.state]

  module {
    source = "./modules/state"
  }

  override_data {
    target = data.google_storage_bucket.state

    values = {
      project_number = 123456789012
    }
  }
}

run "a_state_in_another_project_is_taken" {
  command = plan

  module {
    source = "./modules/state"
  }

  override_data {
    target = data.google_storage_bucket.state

    values = {
      project_number = 210987654321
    }
  }
}
