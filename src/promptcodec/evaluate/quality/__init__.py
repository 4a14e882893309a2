"""What a decoded picture is worth."""
