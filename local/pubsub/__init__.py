"""A small Pub/Sub for one machine, on Google's own message types: it keeps what it took, whenever it is killed.

There is no package of one. Topics, subscriptions with filters, leases and retention of acknowledged messages, seeking
by time and by snapshot, and subscriptions that write files into Cloud Storage behave as documented at
https://cloud.google.com/pubsub/docs. What is not built is refused by name: ordered and exactly-once delivery, push and
BigQuery subscriptions, dead-letter topics, schemas.

From the outside in: ``service`` (the calls of gRPC), ``rules`` (what a call may ask for), ``broker`` (topics,
subscriptions, snapshots), ``backlog`` (what one subscription has delivered), ``commit`` (publishes share a sync),
``log`` (the messages of a topic on disk), and ``files`` (a subscription that writes into Cloud Storage).
"""
