locals {
  labels = { app = "coinbeam", environment = "production" }

  snapshot_table = module.contracts.tables["crypto_data.crypto_market_snapshot_fact"]
}

module "services" {
  source  = "./modules/services"
  project = var.project
}

# Looked at by each plan, before anything is made: it waits for nothing.
module "state" {
  source  = "./modules/state"
  project = var.project
  bucket  = coalesce(var.state_bucket, "${var.project}-terraform-state")
}

module "accounts" {
  source     = "./modules/accounts"
  project    = var.project
  depends_on = [module.services]
}

module "network" {
  source     = "./modules/network"
  project    = var.project
  region     = var.region
  range      = var.network_range
  depends_on = [module.services]
}

module "bucket" {
  source     = "./modules/bucket"
  project    = var.project
  name       = "${var.project}-coinbeam"
  location   = var.location
  writers    = { composer = module.accounts.members["composer"], dataflow = module.accounts.members["dataflow"] }
  deployer   = module.accounts.members["build"]
  depends_on = [module.services]
}

module "contracts" {
  source = "./modules/contracts"
  folder = "${path.root}/${var.contracts}"
}

module "warehouse" {
  source       = "./modules/warehouse"
  project      = var.project
  location     = var.location
  tables       = module.contracts.tables
  writers      = { composer = module.accounts.emails["composer"], build = module.accounts.emails["build"] }
  job_account  = module.accounts.emails["dataflow"]
  reader       = module.accounts.emails["reader"]
  reader_group = var.reader_group
  depends_on   = [module.services]
}

module "secret" {
  source     = "./modules/secret"
  project    = var.project
  name       = "coingecko-api-key"
  readers    = { dataflow = module.accounts.members["dataflow"] }
  depends_on = [module.services]
}

module "registry" {
  source     = "./modules/registry"
  project    = var.project
  region     = var.region
  scan       = var.scan_images
  writers    = { build = module.accounts.members["build"] }
  readers    = { dataflow = module.accounts.members["dataflow"] }
  depends_on = [module.services]
}

module "composer" {
  source            = "./modules/composer"
  project           = var.project
  region            = var.region
  image_version     = var.image_version
  requirements_file = "${path.root}/${var.composer_requirements}"
  network           = module.network.network
  subnetwork        = module.network.subnetwork
  service_account   = module.accounts.emails["composer"]
  deployer          = module.accounts.members["build"]
  users             = var.airflow_users
  labels            = local.labels

  # Without its roles the environment fails after half an hour of waiting.
  depends_on = [module.services, module.accounts]
}

# Off unless somebody says so: see docs/runbooks/stream.md.
module "stream" {
  count      = var.stream == null ? 0 : 1
  source     = "./modules/stream"
  project    = var.project
  region     = var.region
  bucket     = module.bucket.name
  datasets   = module.warehouse.datasets
  repository = module.registry.name
  image      = "${module.registry.prefix}/serving:${var.stream.release}"
  operator   = module.accounts.members["composer"]
  depends_on = [module.services, module.warehouse]
}

# Off unless somebody says so: see docs/cloud.md.
module "serving" {
  count         = var.serving == null ? 0 : 1
  source        = "./modules/serving"
  project       = var.project
  region        = var.region
  bucket        = module.bucket.name
  image         = "${module.registry.prefix}/serving:${var.serving.release}"
  invokers      = var.serving.invokers
  viewers       = var.serving.viewers
  sign_in       = var.serving.sign_in
  oidc_secret   = var.serving.oidc_secret
  max_instances = var.serving.max_instances
  memory        = var.serving.memory
  deployer      = module.accounts.members["build"]
  depends_on    = [module.services]
}

module "build" {
  source          = "./modules/build"
  project         = var.project
  region          = var.region
  github          = var.github
  deploys_from    = var.deploys_from
  service_account = module.accounts.names["build"]
  depends_on      = [module.services]

  # What cloudbuild.yaml cannot know; the release id is the commit, which Cloud Build fills in.
  substitutions = {
    _REGION                   = var.region
    _LOCATION                 = var.location
    _DATA_BUCKET              = module.bucket.name
    _COMPOSER_BUCKET          = module.composer.bucket
    _DATAFLOW_SERVICE_ACCOUNT = module.accounts.emails["dataflow"]
    _SUBNETWORK               = module.network.subnetwork_path
    _API_KEY_SECRET           = module.secret.latest_version
    _AIRFLOW_URL              = module.composer.airflow_url
    _PERIOD                   = var.schedule_period
    _SERVING                  = var.serving != null ? "deploy" : var.stream != null ? "image" : "off"
    _STREAM_SERVICE_ACCOUNT   = try(module.stream[0].emails["stream"], "")
  }
}

module "logs" {
  source         = "./modules/logs"
  project        = var.project
  region         = var.region
  retention_days = var.log_retention_days
  depends_on     = [module.services]
}

module "freshness" {
  source          = "./modules/freshness"
  project         = var.project
  location        = var.location
  service_account = module.accounts.emails["reader"]
  period          = var.schedule_period
  hours           = local.snapshot_table.freshness_hours
  view            = "${module.warehouse.datasets["crypto_marts"]}.price_history"
  depends_on      = [module.services, module.accounts]
}

module "alerts" {
  source           = "./modules/alerts"
  project          = var.project
  email            = var.alert_email
  freshness_config = module.freshness.config_id
  services         = merge(module.serving[*].names...)
  stream           = one(module.stream[*].names)
  depends_on       = [module.services]
}

# Off unless somebody says so, who may administer the billing account.
module "budget" {
  count           = var.budget == null ? 0 : 1
  source          = "./modules/budget"
  project         = var.project
  billing_account = var.budget.billing_account
  amount          = var.budget.amount
  currency        = var.budget.currency
  channel         = module.alerts.channel
  depends_on      = [module.services]
}
