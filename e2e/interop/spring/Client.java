import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.http.MediaType;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * A relying party of Spring Security. Arguments: --server.address, --server.port, --api and the properties
 * of Spring for the client registration durward. GET /start signs the user in and calls the API.
 */
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Client {
	@Value("${api}")
	String api;

	public static void main(String[] args) {
		SpringApplication.run(Client.class, args);
	}

	@Bean
	SecurityFilterChain pages(HttpSecurity http) throws Exception {
		return http
			.authorizeHttpRequests(r -> r.anyRequest().authenticated())
			.oauth2Login(Customizer.withDefaults())
			.build();
	}

	@GetMapping(path = "/start", produces = MediaType.TEXT_PLAIN_VALUE)
	String start(@AuthenticationPrincipal OidcUser user,
			@RegisteredOAuth2AuthorizedClient("durward") OAuth2AuthorizedClient client)
			throws IOException, InterruptedException {
		HttpRequest request = HttpRequest.newBuilder(URI.create(api))
			.header("Authorization", "Bearer " + client.getAccessToken().getTokenValue())
			.build();
		String notes = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
		return "signed in " + user.getSubject() + "\nuserinfo " + user.getUserInfo().getEmail()
				+ "\napi " + notes.strip() + "\n";
	}
}
