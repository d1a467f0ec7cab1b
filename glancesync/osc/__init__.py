"""The plugin of python-openstackclient: ``openstack image sync …``."""
