"""The regions: Keystone sessions, what the catalog lists, and each region's Glance."""
