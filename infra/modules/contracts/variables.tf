variable "folder" {
  type        = string
  description = "Folder with one folder per dataset, and in it one folder per table."
}
