"""Sample photos, and the script that draws them."""
