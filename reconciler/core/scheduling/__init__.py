"""Where a machine goes: filters that say why not, policies that say which of the rest."""
