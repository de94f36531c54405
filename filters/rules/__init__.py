"""Named rule sets, one YAML file each."""
