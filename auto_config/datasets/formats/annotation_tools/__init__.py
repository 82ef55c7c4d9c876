"""What annotation tools export: points of pictures in pixels, and of volumes as challenges take them."""
