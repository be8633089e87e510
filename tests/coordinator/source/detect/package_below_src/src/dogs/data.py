DATA = []
