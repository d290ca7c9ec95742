"""The calendar dimension: pure, without Beam."""
