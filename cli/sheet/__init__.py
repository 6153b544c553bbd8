"""The contact sheet: photos and their images as one HTML file, to send to a colleague."""
