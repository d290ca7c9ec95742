"""A small Pub/Sub for one machine, on Google's own message types: it keeps what it took, whenever it is killed.

There is no package of one. Topics, subscriptions with filters, leases and retention of acked messages, seeking by time
and by snapshot, and subscriptions that write files into Cloud Storage behave as documented at
https://cloud.google.com/pubsub/docs; ordering keys, schemas, push and BigQuery subscriptions are refused.
"""
