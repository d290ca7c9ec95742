"""The daily history kernel: charts and CSV exports of single assets in, one row a day out, without Beam."""
