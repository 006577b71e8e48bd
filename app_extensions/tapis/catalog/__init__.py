"""What a user has on Tapis: systems, flights, and the WebODM projects made from them."""
