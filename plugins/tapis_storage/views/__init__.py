"""What answers at the Tapis plugin's addresses. Views parse, call one function and answer."""
