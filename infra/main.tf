locals {
  labels = { app = "coinbeam", environment = "production" }

  # The large profile has Airflow in Composer and the jobs on Dataflow; the small one has both in one Cloud Run job. Warehouse, bucket, secret and
  # registry are the same, so that a deployment may change its profile and keep all that it has.
  is_small = var.profile == "small"
  runners  = local.is_small ? { batch = module.small[0].emails["batch"] } : { composer = module.accounts.emails["composer"] }
  writers  = local.is_small ? { batch = module.small[0].members["batch"] } : { composer = module.accounts.members["composer"], dataflow = module.accounts.members["dataflow"] }
  workers  = local.is_small ? { batch = module.small[0].members["batch"] } : { dataflow = module.accounts.members["dataflow"] }

  # Scans would make a small month half as dear again: see docs/costs.md.
  scans_images = coalesce(var.scan_images, !local.is_small)

  snapshot_table = module.contracts.tables["crypto_data.crypto_market_snapshot_fact"]
}

module "services" {
  source  = "./modules/services"
  project = var.project
}

# Looked at by each plan, before anything is made: it waits for nothing. In the small profile no account has a role on every bucket.
module "state" {
  count   = local.is_small ? 0 : 1
  source  = "./modules/state"
  project = var.project
  bucket  = coalesce(var.state_bucket, "${var.project}-terraform-state")
}

module "accounts" {
  source     = "./modules/accounts"
  project    = var.project
  profile    = var.profile
  depends_on = [module.services]
}

module "network" {
  count      = local.is_small ? 0 : 1
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
  writers    = local.writers
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
  writers      = merge(local.runners, { build = module.accounts.emails["build"] })
  job_account  = local.is_small ? null : module.accounts.emails["dataflow"]
  reader       = module.accounts.emails["reader"]
  reader_group = var.reader_group
  depends_on   = [module.services]
}

module "secret" {
  source     = "./modules/secret"
  project    = var.project
  name       = "coingecko-api-key"
  readers    = local.workers
  depends_on = [module.services]
}

module "registry" {
  source     = "./modules/registry"
  project    = var.project
  region     = var.region
  scan       = local.scans_images
  writers    = { build = module.accounts.members["build"] }
  readers    = local.is_small ? {} : local.workers # Cloud Run pulls as its own agent
  depends_on = [module.services]
}

module "composer" {
  count             = local.is_small ? 0 : 1
  source            = "./modules/composer"
  project           = var.project
  region            = var.region
  image_version     = var.image_version
  requirements_file = "${path.root}/${var.composer_requirements}"
  network           = module.network[0].network
  subnetwork        = module.network[0].subnetwork
  service_account   = module.accounts.emails["composer"]
  deployer          = module.accounts.members["build"]
  users             = var.airflow_users
  labels            = local.labels

  # Without its roles the environment fails after half an hour of waiting.
  depends_on = [module.services, module.accounts]
}

# Instead of Composer, network and Dataflow: see docs/runbooks/small.md.
module "small" {
  count      = local.is_small ? 1 : 0
  source     = "./modules/small"
  project    = var.project
  region     = var.region
  bucket     = module.bucket.name
  memory     = var.small.memory
  inbox      = var.small.inbox
  period     = var.schedule_period
  channel    = module.alerts.channel
  deployer   = module.accounts.members["build"]
  labels     = local.labels
  depends_on = [module.services]
}

moved {
  from = module.network
  to   = module.network[0]
}

moved {
  from = module.composer
  to   = module.composer[0]
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
  profile         = var.profile
  service_account = module.accounts.names["build"]
  depends_on      = [module.services]

  # What the build of the profile cannot know; the release id is the commit, which Cloud Build fills in. Nothing more: a build refuses what it does not use.
  substitutions = merge(
    {
      _REGION         = var.region
      _LOCATION       = var.location
      _DATA_BUCKET    = module.bucket.name
      _PLAN           = var.coingecko_plan
      _API_KEY_SECRET = var.coingecko_plan == "keyless" ? "" : module.secret.latest_version
      _PERIOD         = var.schedule_period
      _SERVING        = var.serving != null ? "deploy" : var.stream != null ? "image" : "off"
      _SCAN           = local.scans_images ? "on" : "off"
    },
    local.is_small ? {} : {
      _COMPOSER_BUCKET          = module.composer[0].bucket
      _DATAFLOW_SERVICE_ACCOUNT = module.accounts.emails["dataflow"]
      _SUBNETWORK               = module.network[0].subnetwork_path
      _AIRFLOW_URL              = module.composer[0].airflow_url
      _STREAM_SERVICE_ACCOUNT   = try(module.stream[0].emails["stream"], "")
    },
  )
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
  composer         = one(module.composer[*].name)
  uptime_check     = one(module.uptime[*].check_id)
  depends_on       = [module.services]
}

# An engineer on call looks here first.
module "dashboard" {
  source           = "./modules/dashboard"
  project          = var.project
  bucket           = module.bucket.name
  freshness_config = module.freshness.config_id
  services         = merge(module.serving[*].names...)
  stream           = one(module.stream[*].names)
  composer         = one(module.composer[*].name)
  uptime_check     = one(module.uptime[*].check_id)
  depends_on       = [module.services]
}

# Asks the API from outside, as one who may.
module "uptime" {
  count      = var.serving == null ? 0 : 1
  source     = "./modules/uptime"
  project    = var.project
  region     = var.region
  service    = module.serving[0].names["api"]
  url        = module.serving[0].urls["api"]
  depends_on = [module.services]
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
